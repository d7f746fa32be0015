"""What made something: which version of the program, on which machine, with how much memory."""
