"""What the official Python client does against a cluster: called with a kubeconfig, a namespace
and the image of a shell. Each function is one flow; any failed expectation ends the program."""

import sys
import threading

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream


def expect(condition, *facts):
    if not condition:
        raise AssertionError(facts)


def refused(code, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ApiException as error:
        expect(error.status == code, code, error.status, error.body)
        return error
    raise AssertionError(f"not refused with {code}")


def config_map(name, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"flow": "python"}), data=data)


def objects(core, namespace):
    """Creates, reads, replaces, patches, lists and deletes."""
    made = core.create_namespaced_config_map(namespace, config_map("one", a="1"))
    expect(made.metadata.uid and made.data == {"a": "1"}, made)
    refused(409, core.create_namespaced_config_map, namespace, config_map("one"))
    made.data["b"] = "2"
    replaced = core.replace_namespaced_config_map("one", namespace, made)
    # The former version is out of date now.
    refused(409, core.replace_namespaced_config_map, "one", namespace, made)
    merged = core.patch_namespaced_config_map("one", namespace, {"data": {"a": None, "c": "3"}})
    expect(merged.data == {"b": "2", "c": "3"}, merged.data)
    operations = [{"op": "test", "path": "/data/b", "value": "2"}, {"op": "remove", "path": "/data/b"}]
    patched = core.patch_namespaced_config_map("one", namespace, operations)
    expect(patched.data == {"c": "3"}, patched.data)
    expect(int(patched.metadata.resource_version) > int(replaced.metadata.resource_version))
    for number in range(7):
        core.create_namespaced_config_map(namespace, config_map(f"page-{number}"))
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(namespace, label_selector="flow=python", limit=3, _continue=token)
        expect(len(page.items) <= 3)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    expect(names == ["one"] + [f"page-{number}" for number in range(7)], names)
    field = core.list_namespaced_config_map(namespace, field_selector="metadata.name=page-3")
    expect([item.metadata.name for item in field.items] == ["page-3"])
    core.delete_collection_namespaced_config_map(namespace, label_selector="flow=python")
    refused(404, core.read_namespaced_config_map, "one", namespace)


def watches(core, namespace):
    """Sees every change of a collection in order."""
    start = core.list_namespaced_secret(namespace).metadata.resource_version

    def change():
        secret = client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"k": "v"})
        core.create_namespaced_secret(namespace, secret)
        core.patch_namespaced_secret("s", namespace, {"metadata": {"labels": {"seen": "yes"}}})
        core.delete_namespaced_secret("s", namespace)

    changes = threading.Thread(target=change)
    changes.start()
    seen = []
    stream_of = watch.Watch().stream(
        core.list_namespaced_secret, namespace, resource_version=start, field_selector="metadata.name=s",
        timeout_seconds=60)
    for event in stream_of:
        seen.append((event["type"], (event["object"].metadata.labels or {}).get("seen")))
        if event["type"] == "DELETED":
            break
    changes.join()
    expect(seen == [("ADDED", None), ("MODIFIED", "yes"), ("DELETED", "yes")], seen)


def applies(api, namespace):
    """Server-side apply through the dynamic client: ownership, conflict, force, removal."""
    deployments = dynamic.DynamicClient(api).resources.get(api_version="apps/v1", kind="Deployment")

    def body(**spec):
        template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {"selector": {"matchLabels": {"app": "a"}}, "template": template, **spec}
        return {"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "applied", "namespace": namespace}, "spec": spec}

    def apply(manager, force=False, **spec):
        return deployments.server_side_apply(
            body=body(**spec), name="applied", namespace=namespace, field_manager=manager, force_conflicts=force)

    expect(apply("alice", replicas=0, paused=True).spec.replicas == 0)
    error = refused(409, apply, "bob", replicas=2)
    expect("conflict with \"alice\"" in str(error.body) or "alice" in str(error.body), error.body)
    taken = apply("bob", force=True, replicas=0, minReadySeconds=5)
    managers = {entry.manager for entry in taken.metadata.managedFields if entry.operation == "Apply"}
    expect(managers == {"alice", "bob"}, managers)
    left = apply("bob", replicas=0)
    expect(left.spec.minReadySeconds is None, left.spec)
    deployments.delete(name="applied", namespace=namespace)


def streams(core, namespace, image):
    """Runs a command in a container and reaches one of its ports."""
    script = "mkdir -p /www && echo reached > /www/index.html && httpd -p 8080 -h /www && sleep infinity"
    container = client.V1Container(name="c", image=image, command=["sh", "-c", script])
    spec = client.V1PodSpec(containers=[container], termination_grace_period_seconds=0)
    core.create_namespaced_pod(namespace, client.V1Pod(metadata=client.V1ObjectMeta(name="shell"), spec=spec))
    for event in watch.Watch().stream(core.list_namespaced_pod, namespace, field_selector="metadata.name=shell",
                                      timeout_seconds=90):
        statuses = event["object"].status.container_statuses or []
        if statuses and statuses[0].ready:
            break
    else:
        raise AssertionError("the Pod does not run")

    run = core.connect_get_namespaced_pod_exec
    said = stream(run, "shell", namespace, command=["sh", "-c", "echo out; echo err >&2"], stdout=True, stderr=True)
    expect(sorted(said.split()) == ["err", "out"], said)
    talk = stream(run, "shell", namespace, command=["cat"], stdin=True, stdout=True, _preload_content=False)
    talk.write_stdin("there and back\n")
    expect(talk.readline_stdout(timeout=30) == "there and back")
    talk.close()
    failed = stream(run, "shell", namespace, command=["sh", "-c", "exit 3"], stderr=True, _preload_content=False)
    failed.run_forever(timeout=30)
    expect(failed.returncode == 3, failed.returncode)

    # httpd may need a moment after the container is ready.
    for _ in range(50):
        forward = portforward(core.connect_get_namespaced_pod_portforward, "shell", namespace, ports="8080")
        socket = forward.socket(8080)
        socket.setblocking(True)
        socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while piece := socket.recv(4096):
            answer += piece
        if answer:
            break
    expect(b"200 OK" in answer and answer.endswith(b"reached\n"), answer, forward.error(8080))


def main():
    kubeconfig, namespace, image = sys.argv[1:]
    config.load_kube_config(kubeconfig)
    core = client.CoreV1Api()
    objects(core, namespace)
    watches(core, namespace)
    applies(core.api_client, namespace)
    # stream() swaps parts of the client it is given, so it gets its own.
    streams(client.CoreV1Api(client.ApiClient()), namespace, image)
    print("all flows passed")


main()
