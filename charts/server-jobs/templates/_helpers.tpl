{{- define "server-jobs.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "server-jobs.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* Selects the operator's own pods: the release also has pods of the migration and of `helm test`. */ -}}
{{- define "server-jobs.operator" -}}
{{ include "server-jobs.selector" . }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "server-jobs.labels" -}}
{{ include "server-jobs.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "server-jobs.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "server-jobs.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "server-jobs.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "server-jobs.secret" -}}
{{- required "database.existingSecret is required: the name of a Secret in this namespace that has the database's URL, for instance kubectl create secret generic server-jobs --from-literal=url=postgresql://user:password@host/name" .Values.database.existingSecret -}}
{{- end -}}

{{- /* Every container of the chart fits the restricted Pod Security Standard. */ -}}
{{- define "server-jobs.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "server-jobs.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "server-jobs.tables" -}}
{{- with .Values.database.schema }}
- name: SERVER_JOBS_SCHEMA
  value: {{ . | quote }}
{{- end }}
{{- with .Values.database.tablePrefix }}
- name: SERVER_JOBS_TABLE_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{- /* Runs `server-jobs migrate`. Several at once wait for each other by an advisory lock. */ -}}
{{- define "server-jobs.migrate" -}}
name: migrate
image: {{ include "server-jobs.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
# It waits for a database that doesn't answer: a container that ends would begin to crash-loop.
command: [server-jobs, migrate, --wait, forever]
env:
  - name: SERVER_JOBS_DATABASE_URL
    valueFrom:
      secretKeyRef:
        {{- if .Values.migrations.existingSecret }}
        name: {{ .Values.migrations.existingSecret }}
        key: {{ .Values.migrations.key }}
        {{- else }}
        name: {{ include "server-jobs.secret" . }}
        key: {{ .Values.database.key }}
        {{- end }}
  {{- include "server-jobs.tables" . | nindent 2 }}
securityContext:
  {{- include "server-jobs.containerSecurity" . | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
{{- end -}}

{{- define "server-jobs.rules" -}}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
- apiGroups: [server-jobs.dev]
  resources: [jobrunners, jobschedules]
  verbs: [list, watch]
- apiGroups: [server-jobs.dev]
  resources: [jobrunners/status, jobschedules/status]
  verbs: [patch]
{{- end -}}
