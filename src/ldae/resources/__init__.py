"""Files from outside: one table of them all, and staging each into the resources folder.

``config/resources.tsv`` has one row per file:

- ``name``: what to call it here; ``path``: where it goes, below the resources folder.
- ``kind``: ``url`` is downloaded; ``package`` is made from a file of an installed Python package;
  ``manual`` is brought by the user, ``note`` says how.
- ``source``: the URLs in the order to try them, or ``package:file``.
- ``checksum``: ``md5:...`` or ``sha256:...`` of what is downloaded or of the package's file;
  ``unknown`` where nobody has published one and it could not be computed here.
- ``bytes``: size of the file to download or bring, or of the package's file.
- ``licence``, ``used_by``, ``note``.

Mirrors (``paths.mirrors`` in the configuration) are folders or base URLs that are tried first.
Command line: ``python -m ldae.resources list | stage | check``, see ``--help``.
"""
