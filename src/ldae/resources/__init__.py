"""External files (templates, pretrained weights): their table, and staging into one folder.

``config/resources.tsv`` has one row per file:

- ``name``: its name in commands; ``path``: its place below the resources folder.
- ``kind``: ``url`` is downloaded; ``hub`` is a file of a model hub (:mod:`ldae.resources.hub`);
  ``package`` is made from a file of an installed Python package; ``manual`` is brought by the user,
  ``note`` says how.
- ``source``: the URLs in the order to try them, ``ORG/NAME@COMMIT:FILE`` of a hub with all 40 digits
  of the commit, or ``package:file``.
- ``checksum``: ``md5:...`` or ``sha256:...`` of the download or of the package's file;
  ``unknown`` where none is published and none could be computed here.
- ``bytes``: size of the file to download or bring, or of the package's file.
- ``licence``, ``used_by``, ``note``.

Mirrors (``paths.mirrors`` in the configuration) are folders or base URLs that are tried first. For
files of a hub, a base URL may also be another hub with the same repositories.
Command line: ``ldae resources list | stage | check``, see ``--help``.
"""
