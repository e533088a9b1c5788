"""A conversion webhook for crons.e2e.ironclad.local: v1 has one field `schedule`, v2 has `minute`
and `hour`. Called with a certificate, its key and the address to listen on; prints its port."""

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


class Webhook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review.pop("request")
        wanted = request["desiredAPIVersion"]
        review["response"] = {
            "uid": request["uid"],
            "result": {"status": "Success"},
            "convertedObjects": [converted(source, wanted) for source in request["objects"]],
        }
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
