"""What tests share: small stores, models, results, cohorts, and copies of the project."""
