"""Conversion of a raw ADNI download, or of an external BIDS data set, to one BIDS folder."""
