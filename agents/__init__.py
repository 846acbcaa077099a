"""What is decided. Pure: batch and state in, result out; no Ray, Kafka, network, files or wall clock."""

__version__ = "0.1.0"
