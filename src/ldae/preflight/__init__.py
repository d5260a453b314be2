"""What can be known before a long run: data, space, environment, cluster, cost. Writes nothing.

Each module looks at one topic and returns all that it finds, good and bad
(:class:`ldae.preflight.report.Finding`); none stops at the first fault.
"""
