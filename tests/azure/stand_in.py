"""A stand-in for an Azure ML workspace: what the plugin asks of Azure by REST, answered on loopback.

It is a proxy for HTTPS that ends the TLS itself, so its clients use Azure's own addresses: with `HTTPS_PROXY` and
`REQUESTS_CA_BUNDLE` set they reach it instead of Azure, and nothing else. Behind it are MLflow's own handlers on a
SQLite file. What differs from an MLflow server are Azure's limits (resource-limits-capacity.md in MicrosoftDocs'
azure-docs) and habits: no endpoints of MLflow 3, no aliases, artifacts in a service of their own that overwrites none,
and now and then 429 and 504. Run as `python stand_in.py FOLDER`; it writes `address` there when it listens.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import re
import ssl
import sys
import threading
import time
import traceback
from collections import Counter
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST: Final = "westeurope.api.azureml.ms"
BLOBS: Final = "assay.blob.core.windows.net"
ARM: Final = "management.azure.com"
LOGIN: Final = "login.microsoftonline.com"
SCOPE: Final = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
TRACKING_URI: Final = f"azureml://{HOST}/mlflow/v1.0{SCOPE}"
PARAMS, TAGS, TAG_KEY, TAG_VALUE, METRIC_NAMES, METRIC_ROWS = 200, 50, 100, 1_000, 50, 250
CALL: Final = re.compile(rf"/mlflow/v2\.0{SCOPE}/api/(\d)\.0/mlflow/(.+)")
ARTIFACTS: Final = re.compile(rf"/history/v1\.0{SCOPE}/experiments/([^/]+)/runs/([^/]+)/artifacts(/.*)?")
ABSENT: Final = re.compile(r"logged-models|traces|registered-models/alias|model-versions/get-by-alias")

Answer = tuple[int, dict[str, str], bytes]


def token() -> str:
    """Return an access token, unsigned, that is good for an hour."""

    def part(fields: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part({'exp': int(time.time()) + 3600, 'tid': 't'})}.c2ln"


class Workspace:
    """The workspace's content and rules; `faults` is how many in a thousand tracking requests go wrong."""

    def __init__(self, folder: Path) -> None:
        os.environ["_MLFLOW_SERVER_FILE_STORE"] = os.environ["_MLFLOW_SERVER_REGISTRY_STORE"] = (
            f"sqlite:///{folder}/server.db"
        )
        os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = str(folder / "unused")
        os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = "*"
        from mlflow.server import app, handlers  # noqa: PLC0415  reads the variables above
        from werkzeug.test import Client  # noqa: PLC0415

        self._client = Client(app)
        self._store = handlers._get_tracking_store()
        self._blobs: dict[str, bytes] = {}
        self._kept: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        self._every = 0
        self._count = 0
        self.seen: Counter[str] = Counter()

    def control(self, path: str) -> Answer:
        """Answer the test: `/faults?every=N` makes every Nth tracking request fail, `/seen` counts what was asked."""
        address = urlsplit(path)
        if address.path == "/faults":
            self._every = int(parse_qs(address.query)["every"][0])
        return _json(200, self.seen)

    def answer(self, host: str, method: str, path: str, headers: Any, body: bytes) -> Answer:
        """Answer a request to one of Azure's hosts."""
        if host == LOGIN:
            return self._login(path)
        if host == BLOBS:
            return self._blob(method, path, headers, body)
        if not headers.get("Authorization", "").startswith("Bearer ey"):
            return _json(401, {"error": {"code": "UserError", "message": "no token"}})
        if host == ARM:
            return self._arm(path)
        if found := ARTIFACTS.fullmatch(unquote(urlsplit(path).path)):
            return self._artifacts(found.group(2), found.group(3) or "", path, body)
        if found := CALL.fullmatch(urlsplit(path).path):
            return self._call(found.group(1), found.group(2), method, path, body)
        return _json(404, {"error": {"code": "NotFound", "message": path}})

    def _login(self, path: str) -> Answer:
        self.seen["login"] += 1
        base = f"https://{LOGIN}/t"
        if "/discovery/instance" in path:
            metadata = [{"preferred_network": LOGIN, "preferred_cache": LOGIN, "aliases": [LOGIN]}]
            where = f"{base}/v2.0/.well-known/openid-configuration"
            return _json(200, {"tenant_discovery_endpoint": where, "metadata": metadata})
        if path.endswith("openid-configuration"):
            ends = {f"{name}_endpoint": f"{base}/oauth2/v2.0/{name}" for name in ("token", "authorization")}
            return _json(200, {**ends, "issuer": f"{base}/v2.0", "device_authorization_endpoint": f"{base}/d"})
        return _json(200, {"access_token": token(), "token_type": "Bearer", "expires_in": 3600})

    def _arm(self, path: str) -> Answer:
        self.seen["arm"] += 1
        if urlsplit(path).path != SCOPE:
            return _json(404, {"error": {"code": "ResourceNotFound", "message": f"no {urlsplit(path).path}"}})
        fields = {"mlFlowTrackingUri": TRACKING_URI, "workspaceId": "w", "discoveryUrl": f"https://{HOST}/discovery"}
        return _json(200, {"id": SCOPE, "name": "w", "location": "westeurope", "properties": fields})

    def _call(self, version: str, call: str, method: str, path: str, body: bytes) -> Answer:
        self.seen[call] += 1
        if version != "2" or ABSENT.match(call):
            return _json(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": f"no route {call}"})
        with self._lock:
            self._count += 1
            fault = self._count if self._every and self._count % self._every == 0 else 0
        if fault % 2:
            self.seen["429"] += 1
            return 429, {"Retry-After": "1", "Content-Type": "text/plain"}, b"Too Many Requests"
        if refusal := self._refusal(call, json.loads(body) if method == "POST" and body else {}):
            self.seen["refused"] += 1
            message = f"Response: {{'Error': {{'Code': 'ValidationError', 'Message': '{refusal}'}}}}"
            return _json(400, {"error_code": "INVALID_PARAMETER_VALUE", "message": message})
        inner = f"/api/2.0/mlflow/{call}"
        query = urlsplit(path).query
        done = self._client.open(inner, method=method, query_string=query, data=body, content_type="application/json")
        if fault:  # it was done, and nobody is told
            self.seen["504"] += 1
            return 504, {"Content-Type": "text/html"}, b"<html>504 Gateway Time-out</html>"
        text = done.get_data()
        if done.status_code == 200 and text:
            text = json.dumps(self._as_azures(json.loads(text))).encode()
        return done.status_code, {"Content-Type": "application/json"}, text

    def _refusal(self, call: str, asked: dict[str, Any]) -> str:
        """Return what Azure has against a request, or nothing."""
        if call not in {"runs/create", "runs/log-batch", "runs/set-tag", "runs/log-parameter", "runs/log-metric"}:
            return ""
        one = {key: asked.get("value") for key in [asked.get("key")] if key}
        tags = {tag["key"]: tag["value"] for tag in asked.get("tags", [])} | (one if call == "runs/set-tag" else {})
        params = {param["key"] for param in asked.get("params", [])} | (set(one) if "param" in call else set())
        rows = Counter(metric["key"] for metric in asked.get("metrics", []))
        data = self._store.get_run(asked["run_id"]).data if call != "runs/create" else None
        for field, limit, size in (
            ("RunDto.Tags.Key/Length", TAG_KEY, max(map(len, tags), default=0)),
            ("RunDto.Tags.Value/Length", TAG_VALUE, max(map(len, map(str, tags.values())), default=0)),
            ("Tags", TAGS, len({*tags, *(data.tags if data else ())})),
            ("Parameters", PARAMS, len({*params, *(data.params if data else ())})),
            ("Metrics", METRIC_NAMES, len({*rows, *(data.metrics if data else ())})),
            ("MetricV2Dto.Value/Count", METRIC_ROWS, max(rows.values(), default=0)),
        ):
            if size > limit:
                return f"A field of the entity is over the size limit. FieldName={field}, Limit={limit}, Size={size}."
        return ""

    def _as_azures(self, found: Any) -> Any:
        """Return an answer of MLflow's with the addresses that artifacts have in Azure."""
        if isinstance(found, list):
            return [self._as_azures(item) for item in found]
        if not isinstance(found, dict):
            return found
        fields = {key: self._as_azures(value) for key, value in found.items()}
        if {"artifact_uri", "experiment_id"} <= fields.keys():
            name = self._store.get_experiment(fields["experiment_id"]).name
            fields["artifact_uri"] = (
                f"azureml://{HOST}/mlflow/v2.0{SCOPE}/experiments/{name}/runs/{fields['run_id']}/artifacts"
            )
        return fields

    def _artifacts(self, run_id: str, what: str, path: str, body: bytes) -> Answer:
        self.seen[f"artifacts{what}"] += 1
        kept = self._kept.setdefault(run_id, set())
        if what == "":
            found = [{"origin": "ExperimentRun", "container": f"dcid.{run_id}", "path": name} for name in sorted(kept)]
            return _json(200, {"value": found})
        if what == "/contentinfo":
            name = parse_qs(urlsplit(path).query)["path"][0]
            if name not in kept:
                return _json(404, {"error": {"code": "UserError", "message": f"no artifact {name}"}})
            return _json(200, _content(run_id, name, "r"))
        asked = [item["path"] for item in json.loads(body)["paths"]]
        with self._lock:
            new = [name for name in asked if name not in kept]
            kept.update(new)
        errors = {
            name: {"error": {"code": "UserError", "message": f"Resource Conflict: ArtifactId {name} already exists."}}
            for name in asked
            if name not in new
        }
        contents = {name: _content(run_id, name, "w") for name in new}
        return _json(200, {"artifacts": {}, "artifactContentInformation": contents, "errors": errors})

    def _blob(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        name, query = unquote(urlsplit(path).path), parse_qs(urlsplit(path).query)
        stamp = {"ETag": '"1"', "Last-Modified": formatdate(usegmt=True), "x-ms-blob-type": "BlockBlob"}
        if method == "PUT":
            if query["sig"] != ["w"]:
                return 403, {"x-ms-error-code": "AuthorizationPermissionMismatch"}, b""
            if headers.get("If-None-Match") == "*" and name in self._blobs:
                return 409, {"x-ms-error-code": "BlobAlreadyExists"}, b""
            self._blobs[name] = body
            return 201, stamp, b""
        if name not in self._blobs:
            return 404, {"x-ms-error-code": "BlobNotFound"}, b""
        content = self._blobs[name]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("x-ms-range", ""))
        if wanted is None:
            return 200, stamp, content
        start, end = int(wanted.group(1)), min(int(wanted.group(2)) + 1, len(content))
        if start >= len(content):
            return 416, {"x-ms-error-code": "InvalidRange", "Content-Range": f"bytes */{len(content)}"}, b""
        stamp["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        return 206, stamp, content[start:end]


def _content(run_id: str, name: str, rights: str) -> dict[str, str]:
    place = f"https://{BLOBS}/azureml/ExperimentRun/dcid.{run_id}/{name}?sv=1&sig={rights}"
    return {"contentUri": place, "origin": "ExperimentRun", "container": f"dcid.{run_id}", "path": name}


def _json(status: int, content: object) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(content).encode()


def certificate(folder: Path) -> ssl.SSLContext:
    """Write a certificate for Azure's hosts, `ca.pem`, which clients are to trust; return the server's side."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    hosts = [x509.DNSName(host) for host in (HOST, BLOBS, ARM, LOGIN)]
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


class Proxy(BaseHTTPRequestHandler):
    """Takes CONNECT, answers the TLS in the name of the host, and serves what is asked inside."""

    protocol_version = "HTTP/1.1"
    workspace: Workspace
    context: ssl.SSLContext
    host = ""

    def do_CONNECT(self) -> None:
        """Let the client into one of Azure's hosts; no other is there."""
        self.host = self.path.partition(":")[0]
        if self.host not in {HOST, BLOBS, ARM, LOGIN}:
            self.workspace.seen["elsewhere"] += 1
            self.send_error(502)
            return
        self.send_response_only(200)
        self.end_headers()
        self.connection = self.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if self.host:
                answer = self.workspace.answer(self.host, self.command, self.path, self.headers, body)
            else:
                answer = self.workspace.control(self.path)
        except Exception:  # noqa: BLE001  a server's boundary
            traceback.print_exc()
            answer = _json(500, {"error_code": "INTERNAL_ERROR", "message": "see the stand-in's log"})
        status, headers, content = answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815  their base's names

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Say nothing."""


def main(folder: Path) -> None:
    """Serve until killed."""
    Proxy.workspace, Proxy.context = Workspace(folder), certificate(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        ready = folder / "address.new"
        ready.write_text(f"http://127.0.0.1:{server.server_address[1]}")
        ready.rename(folder / "address")
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
