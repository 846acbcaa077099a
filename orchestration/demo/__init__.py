"""The demo: real credit decisions governed by the real system on this machine, checked from outside at the end.

population  real clients: half of them are learnt on, the others decided on; who they are stands apart
model       a scikit-learn model, and a version of it that is fine-tuned on a skewed sample
assistant   a small text model
traffic     which calls come when, by whom, and what is wrong with some of them
records     what the models answer, as events
reference   the profiles that monitors compare with
flow        sends them, and watches what becomes of them
check       counts, evidence, one proof, one re-execution
caught      what monitors caught and how soon; what rules did then
picture     the approval gap, drawn from the observations
show        what the screen says
story       all of it, from an empty folder to the exit status
"""
