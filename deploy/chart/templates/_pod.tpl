{{/* The pod, the same for both modes but for where state is kept. */}}

{{- define "syllabus.args" -}}
- serve
- --listen={{ .Values.listenHost }}:{{ int .Values.port }}
- --health-listen={{ .Values.listenHost }}:{{ int .Values.healthPort }}
{{- if .Values.tls.secretName }}
- --tls-cert=/etc/syllabus/tls/tls.crt
- --tls-key=/etc/syllabus/tls/tls.key
{{- if .Values.tls.clientCaSecretName }}
- --tls-client-ca=/etc/syllabus/client-ca/ca.crt
{{- end }}
{{- else }}
- --insecure
{{- end }}
{{- if .Values.tokens.secretName }}
- --tokens=/etc/syllabus/tokens/tokens.yaml
{{- end }}
{{- if eq .Values.mode "single" }}
- --data-dir=/var/lib/syllabus
{{- else }}
- --engine=ray
- --ray-address={{ .Values.frontDoors.rayAddress }}
- --ray-namespace={{ include "syllabus.rayNamespace" . }}
- --ray-cpus={{ .Values.frontDoors.cpusPerCurriculum }}
- {{ printf "--store=%s" .Values.frontDoors.databaseUrl | quote }}
- --store-wait={{ int .Values.frontDoors.storeWaitSeconds }}
{{- end }}
- --durability={{ .Values.durability }}
{{- if .Values.curricula }}
- --config=/etc/syllabus/curricula/curricula.yaml
{{- end }}
{{- range .Values.allowCurricula }}
- --allow-curriculum={{ . }}
{{- end }}
{{- if .Values.metrics.enabled }}
- --metrics-listen={{ .Values.listenHost }}:{{ int .Values.metrics.port }}
- --metrics-insecure
{{- end }}
{{- with .Values.trace.endpoint }}
- --trace={{ . }}
{{- end }}
- --grace={{ .Values.drain.graceSeconds }}
- --max-message-mib={{ int .Values.maxMessageMib }}
- --log-format={{ .Values.log.format }}
- --log-level={{ .Values.log.level }}
{{- end -}}

{{/* A health check. kubelet's own gRPC probes speak no TLS; the port for health has none, and answers nothing else. */}}
{{- define "syllabus.probe" -}}
grpc:
  port: {{ int .root.Values.healthPort }}
  service: {{ .service | quote }}
timeoutSeconds: 5
{{- end -}}

{{- define "syllabus.env" -}}
{{- if eq .Values.mode "frontDoors" -}}
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
{{- with .Values.frontDoors.rayTokenSecretName }}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: auth_token
{{- end }}
{{- if .Values.frontDoors.rayTlsSecretName }}
- name: RAY_USE_TLS
  value: "1"
- name: RAY_TLS_SERVER_CERT
  value: /etc/syllabus/ray-tls/tls.crt
- name: RAY_TLS_SERVER_KEY
  value: /etc/syllabus/ray-tls/tls.key
- name: RAY_TLS_CA_CERT
  value: /etc/syllabus/ray-tls/ca.crt
{{- end }}
{{- with .Values.frontDoors.databasePasswordSecretName }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: password
{{- end }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "syllabus.rights" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities:
  drop: [ALL]
{{- end -}}

{{/* A front door talks to Ray through a Ray node of its own pod, which takes no work (no CPUs) and ends after it. */}}
{{- define "syllabus.rayNode" -}}
- name: ray-node
  image: {{ include "syllabus.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command:
    - ray
    - start
    - --address={{ .Values.frontDoors.rayAddress }}
    - --num-cpus=0
    - --num-gpus=0
    - --object-store-memory=104857600
    - --disable-usage-stats
    - --block
  {{- with include "syllabus.env" . }}
  env:
    {{- . | nindent 4 }}
  {{- end }}
  lifecycle:
    preStop:
      exec:
        command: [sleep, {{ add .Values.drain.preStopSeconds .Values.drain.graceSeconds | quote }}]
  resources:
    {{- toYaml .Values.frontDoors.rayNodeResources | nindent 4 }}
  securityContext:
    {{- include "syllabus.rights" . | nindent 4 }}
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    - name: shm
      mountPath: /dev/shm
    {{- if .Values.frontDoors.rayTlsSecretName }}
    - name: ray-tls
      mountPath: /etc/syllabus/ray-tls
      readOnly: true
    {{- end }}
{{- end -}}

{{- define "syllabus.pod" -}}
metadata:
  labels:
    {{- include "syllabus.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: syllabus
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "syllabus.fullname" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int .Values.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq .Values.mode "frontDoors" }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "syllabus.selector" . | nindent 10 }}
  {{- end }}
  containers:
    - name: syllabus
      image: {{ include "syllabus.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        {{- include "syllabus.args" . | nindent 8 }}
      {{- with include "syllabus.env" . }}
      env:
        {{- . | nindent 8 }}
      {{- end }}
      ports:
        - name: grpc
          containerPort: {{ int .Values.port }}
        - name: health
          containerPort: {{ int .Values.healthPort }}
        {{- if .Values.metrics.enabled }}
        - name: metrics
          containerPort: {{ int .Values.metrics.port }}
        {{- end }}
      startupProbe:
        {{- include "syllabus.probe" (dict "root" . "service" "") | nindent 8 }}
        periodSeconds: 5
        failureThreshold: {{ div (add (int .Values.startupSeconds) 4) 5 }}
      livenessProbe:
        {{- include "syllabus.probe" (dict "root" . "service" "") | nindent 8 }}
        periodSeconds: 20
        failureThreshold: 3
      readinessProbe:
        {{- include "syllabus.probe" (dict "root" . "service" "syllabus.v1.CurriculumService") | nindent 8 }}
        periodSeconds: 10
        failureThreshold: 2
      {{- if .Values.drain.preStopSeconds }}
      lifecycle:
        preStop:
          exec:
            command: [sleep, {{ .Values.drain.preStopSeconds | quote }}]
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- include "syllabus.rights" . | nindent 8 }}
      volumeMounts:
        - name: data
          mountPath: /var/lib/syllabus
        - name: tmp
          mountPath: /tmp
        {{- if eq .Values.mode "frontDoors" }}
        - name: shm
          mountPath: /dev/shm
        {{- if .Values.frontDoors.rayTlsSecretName }}
        - name: ray-tls
          mountPath: /etc/syllabus/ray-tls
          readOnly: true
        {{- end }}
        {{- end }}
        {{- if .Values.curricula }}
        - name: curricula
          mountPath: /etc/syllabus/curricula
          readOnly: true
        {{- end }}
        {{- if .Values.tls.secretName }}
        - name: tls
          mountPath: /etc/syllabus/tls
          readOnly: true
        {{- end }}
        {{- if .Values.tls.clientCaSecretName }}
        - name: client-ca
          mountPath: /etc/syllabus/client-ca
          readOnly: true
        {{- end }}
        {{- if .Values.tokens.secretName }}
        - name: tokens
          mountPath: /etc/syllabus/tokens
          readOnly: true
        {{- end }}
    {{- if eq .Values.mode "frontDoors" }}
    {{- include "syllabus.rayNode" . | nindent 4 }}
    {{- end }}
  volumes:
    {{- if eq .Values.mode "frontDoors" }}
    - name: data
      emptyDir: {}
    - name: shm
      emptyDir:
        medium: Memory
        sizeLimit: 256Mi
    {{- with .Values.frontDoors.rayTlsSecretName }}
    - name: ray-tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- end }}
    - name: tmp
      emptyDir:
        sizeLimit: 1Gi
    {{- if .Values.curricula }}
    - name: curricula
      configMap:
        name: {{ include "syllabus.fullname" . }}-curricula
    {{- end }}
    {{- if .Values.tls.secretName }}
    - name: tls
      secret:
        secretName: {{ .Values.tls.secretName }}
        defaultMode: 0440
    {{- end }}
    {{- if .Values.tls.clientCaSecretName }}
    - name: client-ca
      secret:
        secretName: {{ .Values.tls.clientCaSecretName }}
        defaultMode: 0440
        items:
          - key: ca.crt
            path: ca.crt
    {{- end }}
    {{- if .Values.tokens.secretName }}
    - name: tokens
      secret:
        secretName: {{ .Values.tokens.secretName }}
        defaultMode: 0440
    {{- end }}
{{- end -}}
