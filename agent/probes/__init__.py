"""What `check` tries on the wire: a module for each part of the way, each step with its remedy."""
