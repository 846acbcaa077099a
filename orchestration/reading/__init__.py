"""What people read: tables that are folded from topics and can be folded again at any time, and the questions to them."""
