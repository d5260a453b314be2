"""Normative view: a person's measures against those of healthy people of the same age and sex."""
