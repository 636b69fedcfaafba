"""The tracking store of an Azure ML workspace; needs the extra `azure`."""

from __future__ import annotations

from azure.ai.ml import MLClient
from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential

from infrastructure.config.schema.project import AzureMl
from infrastructure.errors import TrackingError, one_line


def workspace_client(workspace: AzureMl) -> MLClient:
    """Return a client for the configured workspace, with Azure's default chain of credentials."""
    return MLClient(
        DefaultAzureCredential(),
        subscription_id=workspace.subscription_id,
        resource_group_name=workspace.resource_group,
        workspace_name=workspace.workspace_name,
    )


def workspace_tracking_uri(workspace: AzureMl) -> str:
    """Ask the workspace for its tracking URI. Raises TrackingError if it can't be asked."""
    try:
        uri: str = workspace_client(workspace).workspaces.get(workspace.workspace_name).mlflow_tracking_uri
    except (AzureError, ValueError) as error:
        raise TrackingError(f"workspace {workspace.workspace_name!r} can't be reached: {one_line(error)}") from error
    return uri
