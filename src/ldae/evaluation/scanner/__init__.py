"""Scanner and fairness: what codes tell of site and machine, harmonisation, confounding, groups."""
