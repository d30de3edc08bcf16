"""A Hub on loopback, as large as huggingface_hub's client needs it to create, push, list and download."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKENS = {"hf_mine": "me", "hf_hers": "her"}
ROUTES = []


@dataclass
class Repo:
    """Commits, each the whole of its files: {path: content}."""

    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False

    def add(self, files, revision="main"):
        number = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits.append((number, files))
        self.branches[revision] = number
        return number

    def at(self, revision):
        """The commit of a branch, or that of its own name, and its files."""
        number = self.branches.get(revision, revision)
        found = [commit for commit in self.commits if commit[0] == number]
        return found[0] if found else None


def lfs(path):
    return path.endswith((".safetensors", ".onnx", ".png"))


def oid(path, content):
    if lfs(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def route(method, pattern):
    return lambda function: ROUTES.append((method, re.compile(pattern), function)) or function


class Refused(Exception):
    def __init__(self, status, message, code=None, **content):
        self.status, self.message, self.code, self.content = status, message, code, content


class Hub:
    """What the server holds; `fail_at` names a step that breaks: "lfs", "commit"."""

    def __init__(self):
        self.repos, self.objects, self.log, self.fail_at = {}, {}, [], None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @contextlib.contextmanager
    def running(self):
        thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()

    def repo(self, name):
        if name not in self.repos:
            raise Refused(404, "Repository not found", "RepoNotFound")
        return self.repos[name]

    def commit(self, name, revision):
        if (found := self.repo(name).at(unquote(revision))) is None:
            raise Refused(404, "Invalid rev id", "RevisionNotFound")
        return found

    def files(self, name="me/model"):
        return self.repo(name).at("main")[1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args):
        pass

    def answer(self):
        """Find the route of a request, and send what it gives."""
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        size = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(size)
        self.hub.log.append(f"{self.command} {url.path}")
        try:
            for method, pattern, function in ROUTES:
                if method == self.command.replace("HEAD", "GET") and (found := pattern.fullmatch(url.path)):
                    return self.send(
                        200, *function(self, *(unquote(part) for part in found.groups() if part is not None))
                    )
            raise Refused(404, "No such place")
        except Refused as error:
            headers = {"X-Error-Message": error.message, **({"X-Error-Code": error.code} if error.code else {})}
            self.send(error.status, {"error": error.message, **error.content}, headers)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def send(self, status, content, headers=None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def user(self):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in TOKENS:
            raise Refused(401, "Invalid credentials in Authorization header")
        return TOKENS[token]

    def may_write(self, name):
        if name.split("/")[0] != self.user:
            raise Refused(403, "You don't have the rights to write there")


@route("GET", "/api/whoami-v2")
def whoami(request):
    return ({"type": "user", "name": request.user, "orgs": []},)


@route("POST", "/api/repos/create")
def create(request):
    asked = json.loads(request.body)
    name = f"{asked.get('organization') or request.user}/{asked['name']}"
    request.may_write(name)
    if name in request.hub.repos:
        raise Refused(409, "You already created this repo", url=f"{request.hub.url}/{name}")
    request.hub.repos[name] = Repo(private=bool(asked.get("private")) or asked.get("visibility") == "private")
    request.hub.repos[name].add({".gitattributes": b""})
    return ({"url": f"{request.hub.url}/{name}"},)


@route("POST", "/api/validate-yaml")
def validate(request):
    faults = card_faults(json.loads(request.body)["content"])
    if faults:
        raise Refused(400, "; ".join(faults))
    return ({"errors": [], "warnings": []},)


def card_faults(text):
    """What the Hub says of a card's metadata: the rules of the fields that cards here have."""
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if found is None:
        return ["no metadata"]
    data, faults = yaml.safe_load(found[1]), []
    kinds = {"license": str, "library_name": str, "pipeline_tag": str, "tags": list, "language": (str, list)}
    kinds |= {"datasets": list, "metrics": list, "model-index": list, "base_model": (str, list)}
    for name, value in data.items():
        if not isinstance(value, kinds.get(name, object)):
            faults.append(f'"{name}" must not be a {type(value).__name__}')
    for name in data.get("datasets", []):
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
            faults.append(f'"datasets" holds {name!r}, no dataset on the Hub')
    for model in data.get("model-index", []):
        for result in model["results"]:
            if not result["task"]["type"] or not result["dataset"]["type"] or not result["dataset"]["name"]:
                faults.append('"model-index" has a result without task or dataset')
            if not all(isinstance(metric["value"], int | float) and metric["type"] for metric in result["metrics"]):
                faults.append('"model-index" has a metric without value')
    return faults


@route("POST", "/api/models/([^/]+/[^/]+)/branch/([^/]+)")
def branch(request, name, revision):
    request.may_write(name)
    repo = request.hub.repo(name)
    if revision in repo.branches:
        raise Refused(409, "This branch exists")
    repo.branches[revision] = repo.branches["main"]
    return ({},)


@route("POST", "/api/models/([^/]+/[^/]+)/preupload/([^/]+)")
def preupload(request, name, revision):
    request.may_write(name)
    there = request.hub.commit(name, revision)[1]
    files = []
    for file in json.loads(request.body)["files"]:
        path = file["path"]
        known = {"oid": oid(path, there[path])} if path in there else {}
        mode = "lfs" if lfs(path) else "regular"
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
    return ({"files": files},)


@route("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")
def batch(request, name):
    request.may_write(name)
    if request.hub.fail_at == "lfs":
        raise Refused(400, "The upload was cut")
    objects = [
        {**wanted, "actions": {"upload": {"href": f"{request.hub.url}/objects/{wanted['oid']}"}}}
        for wanted in json.loads(request.body)["objects"]
    ]
    return {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"}


@route("PUT", "/objects/([0-9a-f]+)")
def put(request, number):
    assert hashlib.sha256(request.body).hexdigest() == number
    request.hub.objects[number] = request.body
    return ({},)


@route("POST", "/api/models/([^/]+/[^/]+)/commit/([^/]+)")
def commit(request, name, revision):
    request.may_write(name)
    if request.hub.fail_at == "commit":
        raise Refused(400, "The commit was cut")
    files = dict(request.hub.commit(name, revision)[1])
    for line in map(json.loads, request.body.splitlines()):
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            files[value["path"]] = request.hub.objects[value["oid"]]
        elif line["key"] == "deletedFile":
            del files[value["path"]]
    number = request.hub.repo(name).add(files, revision)
    return ({"commitUrl": f"{request.hub.url}/{name}/commit/{number}", "commitOid": number, "hookOutput": ""},)


@route("GET", "/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?")
def info(request, name, revision="main"):
    number, files = request.hub.commit(name, revision)
    private = request.hub.repo(name).private
    return ({"id": name, "sha": number, "private": private, "siblings": [{"rfilename": path} for path in files]},)


@route("GET", "/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?")
def tree(request, name, revision, folder=""):
    files = request.hub.commit(name, revision)[1]
    under = {path: content for path, content in files.items() if path.startswith(f"{folder}/" if folder else "")}
    if not under:
        raise Refused(404, "Entry not found", "EntryNotFound")
    listed = [
        {"type": "file", "path": path, "size": len(content), "oid": oid(path, content)}
        | ({"lfs": {"oid": oid(path, content), "size": len(content), "pointerSize": 1}} if lfs(path) else {})
        for path, content in under.items()
    ]
    return (listed,)


@route("GET", "/([^/]+/[^/]+)/resolve/([^/]+)/(.*)")
def resolve(request, name, revision, path):
    number, files = request.hub.commit(name, revision)
    if path not in files:
        raise Refused(404, "Entry not found", "EntryNotFound")
    return files[path], {"ETag": f'"{oid(path, files[path])}"', "X-Repo-Commit": number}
