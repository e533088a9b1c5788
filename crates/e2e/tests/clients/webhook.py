"""A webhook of both kinds. It converts crons.e2e.ironclad.local (v1 has one field `schedule`, v2 has
`minute` and `hour`), refuses objects with the label `forbidden` and puts `touched: yes` into the data
of others where it is asked at /mutate. Called with a certificate, its key and the address to listen
on; prints its port."""

import base64
import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def converted(source, wanted):
    version = wanted.rsplit("/", 1)[1]
    spec = dict(source.get("spec", {}))
    if version == "v2" and "schedule" in spec:
        spec["minute"], spec["hour"] = spec.pop("schedule").split()
    if version == "v1" and "minute" in spec:
        spec["schedule"] = f"{spec.pop('minute')} {spec.pop('hour')}"
    return {**source, "apiVersion": wanted, "spec": spec}


def conversion(request):
    wanted = request["desiredAPIVersion"]
    objects = [converted(source, wanted) for source in request["objects"]]
    return {"result": {"status": "Success"}, "convertedObjects": objects}


def admission(request, path):
    labels = (request["object"] or {}).get("metadata", {}).get("labels", {})
    if "forbidden" in labels:
        return {"allowed": False, "status": {"message": "the label says no", "code": 403}}
    if path.startswith("/mutate"):
        patch = json.dumps([{"op": "add", "path": "/data/touched", "value": "yes"}])
        patch = base64.b64encode(patch.encode()).decode()
        return {"allowed": True, "patchType": "JSONPatch", "patch": patch}
    return {"allowed": True, "warnings": ["seen by a webhook"]}


class Webhook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review.pop("request")
        if review["kind"] == "ConversionReview":
            response = conversion(request)
        else:
            response = admission(request, self.path)
        review["response"] = {"uid": request["uid"], **response}
        body = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


certificate, key, address = sys.argv[1:]
server = ThreadingHTTPServer((address, 0), Webhook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
