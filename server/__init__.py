"""An MLflow tracking server on PostgreSQL: with docker (`compose.yaml`), or without it (`make server`)."""
