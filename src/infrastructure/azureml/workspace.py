"""An Azure ML workspace, and who asks it."""

from __future__ import annotations

import logging
from typing import Final

from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential

from infrastructure.config.schema.project import AzureMl

PROCESS: Final = 10
"""Seconds that the `az` command may take to give a token."""


def credential() -> DefaultAzureCredential:
    """Return Azure's default chain of credentials, which asks nobody at the keyboard."""
    for name in ("azure", "azureml", "msrest"):  # each of the chain says what it lacks; the error at its end does too
        logging.getLogger(name).setLevel(logging.ERROR)
    return DefaultAzureCredential(process_timeout=PROCESS)


def workspace_client(workspace: AzureMl) -> MLClient:
    """Return a client for the configured workspace."""
    return MLClient(
        credential(),
        subscription_id=workspace.subscription_id,
        resource_group_name=workspace.resource_group,
        workspace_name=workspace.workspace_name,
        enable_telemetry=False,
    )
