"""The model as MLflow stores it: code, not a pickle. MLflow runs this file when it saves and when it loads the model.

It works without Assay: the predictor that it calls lies in the model's own `code` folder.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class ServedModel(PythonModel):  # type: ignore[misc]  # MLflow is untyped here
    """Calls `predict(model_dir, frame)` of the module that `model_config` names."""

    def load_context(self, context: PythonModelContext) -> None:
        """Import the predictor, and let it load what it needs before the first request."""
        self.model_dir = Path(context.artifacts["model"])
        module, _, name = str(context.model_config["predictor"]).partition(":")
        loaded = importlib.import_module(module)
        self.predictor = getattr(loaded, name)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002  MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, object] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """Return one row of predictions for each row of `model_input`."""
        answer = self.predictor(self.model_dir, model_input)
        return answer if isinstance(answer, pd.DataFrame) else pd.DataFrame({"prediction": list(answer)})


set_model(ServedModel())
