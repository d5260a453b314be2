"""Preprocessing of BIDS T1w scans to masked brains in template space: N4, brain mask, affine."""
