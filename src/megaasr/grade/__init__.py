"""Grade: what the base model makes of every clip of a data set, as the curriculum needs it."""
