"""From a BIDS T1w scan to a masked brain on the template's grid: N4, brain extraction, affine."""
