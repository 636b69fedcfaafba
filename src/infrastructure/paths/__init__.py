"""Where a project's folders and a study's files are."""
