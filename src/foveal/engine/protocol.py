"""What the engine offers to those outside it, and the messages that cross the process border."""
