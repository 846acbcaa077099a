"""What people's rulings say about rules and monitors: proposals with their effect, never changes."""
