"""Explorer: a page with a 3-D viewer that moves test scans through the models' codes."""
