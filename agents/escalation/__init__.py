"""Flags become incidents, people's answers become rulings."""
