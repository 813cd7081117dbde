"""Tables and figures of the comparison, and the figures that the documentation shows."""
