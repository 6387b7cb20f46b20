"""What models cost, and tables of what they reached."""
