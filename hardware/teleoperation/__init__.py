"""A person's hand on the arm: sources of displacements, and taking over from a policy without a jump."""
