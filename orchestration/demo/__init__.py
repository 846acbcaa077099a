"""The demo: real credit decisions governed by the real system on this machine, checked from outside at the end.

model     a scikit-learn model that learns on some of the clients and decides for others
traffic   which calls come when, by whom, and what is wrong with some of them
flow      sends them, and watches what becomes of them
check     counts, evidence, one proof, one re-execution
show      what the screen says
story     all of it, from an empty folder to the exit status
"""
