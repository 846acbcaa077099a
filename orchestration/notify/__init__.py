"""Messages going out: one module a channel, a guard in front of every connection, and the outbox that remembers what is due."""
