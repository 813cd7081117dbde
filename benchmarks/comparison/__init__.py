"""What the comparison of systems is computed with, and analyses of its runs."""
