"""Grade a data set: decode every clip with the base model and assign it to a curriculum band."""
