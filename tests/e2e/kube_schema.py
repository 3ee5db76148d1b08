"""Objects of Kubernetes held against the OpenAPI definitions of one version, more strictly than most tools do: a field
that is not there is an error, and so is a word that no list of words has."""

import json
import re

QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")

# The definitions call these fields texts and say in prose what may stand there. `TYPE.field`: the words.
WORDS = {
    "LabelSelectorRequirement.operator": "In NotIn Exists DoesNotExist",
    "core.v1.Container.imagePullPolicy": "Always IfNotPresent Never",
    "core.v1.Container.terminationMessagePolicy": "File FallbackToLogsOnError",
    "core.v1.ContainerPort.protocol": "TCP UDP SCTP",
    "core.v1.EmptyDirVolumeSource.medium": "Memory HugePages",
    "core.v1.HTTPGetAction.scheme": "HTTP HTTPS",
    "core.v1.PersistentVolumeClaimSpec.accessModes": "ReadWriteOnce ReadOnlyMany ReadWriteMany ReadWriteOncePod",
    "core.v1.PodSecurityContext.fsGroupChangePolicy": "Always OnRootMismatch",
    "core.v1.PodSpec.restartPolicy": "Always OnFailure Never",
    "core.v1.PodSpec.dnsPolicy": "ClusterFirst ClusterFirstWithHostNet Default None",
    "core.v1.SeccompProfile.type": "RuntimeDefault Unconfined Localhost",
    "core.v1.Capabilities.drop": "ALL",
    "core.v1.ServicePort.protocol": "TCP UDP SCTP",
    "core.v1.ServiceSpec.clusterIP": "None",
    "core.v1.ServiceSpec.type": "ClusterIP NodePort LoadBalancer ExternalName",
    "core.v1.TopologySpreadConstraint.whenUnsatisfiable": "DoNotSchedule ScheduleAnyway",
    "apps.v1.StatefulSetSpec.podManagementPolicy": "Parallel OrderedReady",
    "apps.v1.StatefulSetUpdateStrategy.type": "RollingUpdate OnDelete",
    "apps.v1.DeploymentStrategy.type": "RollingUpdate Recreate",
    "autoscaling.v2.CrossVersionObjectReference.kind": "StatefulSet Deployment",
    "autoscaling.v2.HPAScalingPolicy.type": "Pods Percent",
    "autoscaling.v2.HPAScalingRules.selectPolicy": "Max Min Disabled",
    "autoscaling.v2.MetricSpec.type": "ContainerResource External Object Pods Resource",
    "autoscaling.v2.MetricTarget.type": "Utilization Value AverageValue",
    "batch.v1.CronJobSpec.concurrencyPolicy": "Allow Forbid Replace",
    "batch.v1.JobSpec.completionMode": "NonIndexed Indexed",
    "batch.v1.JobSpec.podReplacementPolicy": "TerminatingOrFailed Failed",
    "batch.v1.PodFailurePolicyOnExitCodesRequirement.operator": "In NotIn",
    "batch.v1.PodFailurePolicyOnPodConditionsPattern.type": "DisruptionTarget PodScheduled Ready Initialized",
    "batch.v1.PodFailurePolicyOnPodConditionsPattern.status": "True False Unknown",
    "batch.v1.PodFailurePolicyRule.action": "FailJob FailIndex Ignore Count",
    "networking.v1.NetworkPolicyPort.protocol": "TCP UDP SCTP",
    "networking.v1.NetworkPolicySpec.policyTypes": "Ingress Egress",
    "policy.v1.PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy": "IfHealthyBudget AlwaysAllow",
}
WORDS = {field: words.split() for field, words in WORDS.items()}
# Free texts that may look like such a word.
FREE = ("core.v1.Container.args", "core.v1.Container.command", "batch.v1.CronJobSpec.timeZone")
A_WORD = re.compile(r"[A-Z][A-Za-z]+")


class Schema:
    def __init__(self, path):
        self.definitions = json.loads(path.read_text())["definitions"]
        self.kinds = {}
        for name, definition in self.definitions.items():
            kinds = definition.get("x-kubernetes-group-version-kind", [])
            if len(kinds) == 1:
                group = kinds[0]["group"]
                self.kinds[f"{group}/{kinds[0]['version']}" if group else kinds[0]["version"], kinds[0]["kind"]] = name

    def errors(self, document):
        """What is wrong with it: texts that begin with where."""
        if not isinstance(document, dict):
            return ["it is no map"]
        name = self.kinds.get((str(document.get("apiVersion")), str(document.get("kind"))))
        if not name:
            return [f"kind: there is no {document.get('apiVersion')} {document.get('kind')}"]
        found = []
        self._object(document, name, document["kind"], found)
        meta = document.get("metadata")
        if not (isinstance(meta, dict) and meta.get("name")):
            found.append(f"{document['kind']}.metadata.name: missing")
        return found

    def is_map(self, name, field):
        """Whether the field's keys are of the user's choice, as labels are."""
        return "additionalProperties" in self.definitions[name].get("properties", {}).get(field, {})

    def _object(self, value, name, where, found):
        definition = self.definitions[name]
        properties = definition.get("properties")
        if name.endswith(".Quantity"):
            self._quantity(value, where, found)
        elif name.endswith(".IntOrString"):
            if isinstance(value, bool) or not isinstance(value, (int, str)):
                found.append(f"{where}: neither a number nor a name")
        elif properties is None:
            self._value(value, definition, name, where, found)
        elif not isinstance(value, dict):
            found.append(f"{where}: no map")
        else:
            for field in value:
                if field not in properties:
                    found.append(f"{where}.{field}: there is no such field")
                else:
                    self._value(value[field], properties[field], f"{name}.{field}", f"{where}.{field}", found)
            found += [f"{where}.{field}: missing" for field in definition.get("required", []) if field not in value]

    def _quantity(self, value, where, found):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number and not (isinstance(value, str) and QUANTITY.fullmatch(value)):
            found.append(f"{where}: no quantity")

    def _value(self, value, schema, field, where, found):
        if "$ref" in schema:
            self._object(value, schema["$ref"].rsplit("/", 1)[1], where, found)
            return
        kind = schema.get("type")
        good = {"string": isinstance(value, str), "boolean": isinstance(value, bool),
                "integer": isinstance(value, int) and not isinstance(value, bool),
                "number": isinstance(value, (int, float)) and not isinstance(value, bool),
                "array": isinstance(value, list), "object": isinstance(value, dict), None: True}[kind]
        if not good:
            found.append(f"{where}: no {kind}")
        elif kind == "array":
            for i, item in enumerate(value):
                self._value(item, schema["items"], field, f"{where}[{i}]", found)
        elif kind == "object":
            for key, item in value.items():
                self._value(item, schema.get("additionalProperties", {}), "", f"{where}.{key}", found)
        elif kind == "string":
            self._word(value, field, where, found)

    def _word(self, value, field, where, found):
        for of, words in WORDS.items():
            if field.endswith("." + of):
                if value not in words:
                    found.append(f"{where}: {value} is none of {' '.join(words)}")
                return
        free = field.endswith((".kind", ".apiVersion")) or any(field.endswith("." + f) for f in FREE)
        if field and not free and A_WORD.fullmatch(value):
            found.append(f"{where}: {value} looks like a word of Kubernetes that this checker does not know")
