"""`assay submit --azureml`."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from infrastructure.errors import ConfigError
from tests.azure.conftest import REASON, StandIn
from tests.conftest import REPOSITORY, MakeProject
from training.hpo.execution.submission import azure_submission

load_job = pytest.importorskip("azure.ai.ml", reason=REASON).load_job
IMAGE = "image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
TEMPLATE = REPOSITORY / "src/training/cli/templates/common/.amlignore"


@pytest.fixture
def config_dir(make_project: MakeProject) -> Path:
    """Return the config folder of a project that lists what isn't to be uploaded."""
    made = make_project()
    (made.parent / ".amlignore").write_text(TEMPLATE.read_text() + "data/\n")
    return made


def use(config_dir: Path, job: str) -> Path:
    """Give a project a job."""
    workspace = "subscription_id: s, resource_group: g, workspace_name: w"
    (config_dir / "mlflow.yaml").write_text(f"azure_ml: {{enabled: true, {workspace}, job: {{{job}}}}}\n")
    return config_dir


def printed(config_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `assay submit --azureml`."""
    command = [sys.executable, "-m", "training.cli.main", "submit", "--azureml", "--config-dir", str(config_dir)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=300)


def test_dry_run_prints_what_the_sdk_loads(config_dir: Path, tmp_path: Path) -> None:
    """What is printed is a job by the SDK's own schema: command, code, compute, environment and data."""
    use(config_dir, f"compute: cpu-cluster, data: 'azureml:resumes@latest', {IMAGE}, requirements: ['assay[azure]']")
    done = printed(config_dir, "--dry-run", "hpo.max_trials=40")
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "job.yml").write_text(done.stdout)
    job = load_job(tmp_path / "job.yml")
    assert job.compute == "cpu-cluster"
    assert job.experiment_name == "assay"
    assert Path(job.code) == config_dir.parent
    assert job.environment.conda_file["dependencies"][-1] == {"pip": ["assay[azure]"]}
    written = yaml.safe_load(done.stdout)
    assert written["inputs"] == {"data": {"mode": "ro_mount", "path": "azureml:resumes@latest", "type": "uri_folder"}}
    own = ["hpo.max_trials=40", "mlflow.azure_ml.enabled=false", "data.path=${{inputs.data}}"]
    assert shlex.split(job.command) == ["assay", "sweep", "--config-dir", "config", *own]


def test_serverless_spot(config_dir: Path, tmp_path: Path) -> None:
    """Without a cluster it is serverless compute, of the spot kind if that is asked for."""
    job = "instance_type: Standard_F4s_v2, spot: true, environment: 'azureml:assay@latest', data: data"
    submission = azure_submission(use(config_dir, f"{job}, environment_variables: {{LEVEL: high}}"), [])
    (tmp_path / "job.yml").write_text(submission.text)
    loaded = load_job(tmp_path / "job.yml")
    assert loaded.compute is None
    assert loaded.queue_settings["job_tier"].lower() == "spot"
    assert loaded.resources["instance_type"] == "Standard_F4s_v2"
    assert loaded.environment == "assay@latest" or str(loaded.environment).endswith("assay@latest")
    assert loaded.environment_variables == {"LEVEL": "high"}
    assert yaml.safe_load(submission.text)["inputs"]["data"]["path"] == str(config_dir.parent / "data")


@pytest.mark.parametrize(
    ("job", "fault"),
    [
        ("compute: c", "needs environment"),
        (f"compute: c, spot: true, {IMAGE}", "spot and instance_type are of serverless compute"),
        (f"environment: 'azureml:e@latest', {IMAGE}", "two ways to say the same"),
        (f"{IMAGE}, data: nowhere", "nowhere is no folder"),
        (f"{IMAGE}, environment_variables: {{API_TOKEN: x}}", "API_TOKEN is a credential"),
    ],
)
def test_wrong_jobs(config_dir: Path, job: str, fault: str) -> None:
    """What is wrong is told before anything is sent."""
    with pytest.raises(ConfigError, match=fault):
        azure_submission(use(config_dir, job), [])


def test_results_and_secrets_are_not_uploaded(config_dir: Path) -> None:
    """A project that doesn't list its store, its outputs and its secrets is told to, each by its name."""
    root = use(config_dir, f"{IMAGE}, data: 'azureml:d:1'").parent
    (root / ".env").write_text("TOKEN=x")
    (root / "outputs").mkdir()
    (root / "outputs" / "result.json").write_text("{}")
    assert azure_submission(config_dir, []).text
    (root / ".amlignore").write_text(TEMPLATE.read_text())
    with pytest.raises(ConfigError, match=r": data would be uploaded with the code; name them in .*\.amlignore"):
        azure_submission(config_dir, [])
    (root / ".amlignore").unlink()
    with pytest.raises(ConfigError, match=r": \.env, data, mlflow\.db, outputs would be uploaded"):
        azure_submission(config_dir, [])
    (root / ".gitignore").write_text(".env\n/data/\nmlflow.db*\noutputs/\n")
    assert azure_submission(config_dir, []).text


def test_submission_says_what_the_workspace_has_against_it(config_dir: Path, stand_in: StandIn) -> None:
    """A job that the workspace doesn't take is one line; the stand-in takes none."""
    done = printed(use(config_dir, f"compute: cpu, {IMAGE}"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: the job wasn't submitted: ")
    assert len(done.stderr.splitlines()) == 1
    assert stand_in.seen["arm"] > 0
