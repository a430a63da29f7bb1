/**
 * The configuration: every key, what it accepts, its default. `meshtap.schema.json` is generated from here, and the
 * descriptions are the manual. An `error` completes the sentence "expected ...".
 *
 * @module
 */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { SOCKETS } from '../identity/containers.js';
import { SIBLINGS } from '../identity/dns.js';
import { SERVICE_NAME } from '../identity/kubernetes.js';
import { readRoute } from '../routes/route.js';
import { boundaryProblem, DEFAULT_BOUNDARIES } from './boundaries.js';

const MILLISECONDS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;

/** `500ms`, `10s`, `5m`, `1h`; milliseconds once parsed. */
const duration = () =>
  z
    .string({ error: 'a duration such as 500ms, 10s, 5m or 1h' })
    .regex(/^[1-9][0-9]{0,8}(ms|s|m|h)$/, { error: 'a duration such as 500ms, 10s, 5m or 1h' })
    .transform((text) => {
      const unit = text.replace(/^\d+/, '') as keyof typeof MILLISECONDS;
      return Number.parseInt(text, 10) * MILLISECONDS[unit];
    });

const LISTEN = 'an address to listen on, HOST:PORT, such as 127.0.0.1:9464 or [::]:9464';

/** `HOST:PORT`, IPv6 in brackets. */
const listen = () =>
  z
    .string({ error: LISTEN })
    .regex(/^(\[[^[\]]+\]|[^:[\]\s]+):[0-9]{1,5}$/, { error: LISTEN })
    .refine(isPort, { error: 'a port up to 65535' })
    .transform(hostAndPort);

const OR_OFF = `${LISTEN}, or off`;

/** The same, or `off`. */
const listenOrOff = () =>
  z
    .string({ error: OR_OFF })
    .regex(/^(off|(\[[^[\]]+\]|[^:[\]\s]+):[0-9]{1,5})$/, { error: OR_OFF })
    .refine((text) => text === 'off' || isPort(text), { error: 'a port up to 65535' })
    .transform((text) => (text === 'off' ? text : hostAndPort(text)));

const isPort = (text: string) => Number(text.slice(text.lastIndexOf(':') + 1)) <= 65535;

function hostAndPort(text: string): { host: string; port: number } {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
}

const cidr = () =>
  z
    .string({ error: 'a prefix such as 10.0.0.0/8 or fd00::/8' })
    .refine((text) => ipaddr.isValidCIDR(text), { error: 'a prefix such as 10.0.0.0/8 or fd00::/8' });

/** A size of something in memory: enough to be of use, and no more than the kernel's maps can have. */
const size = (of: string) => {
  const error = `a number of ${of}, 16 to 4194304`;
  return z.int({ error }).min(16, { error }).max(4_194_304, { error });
};
const name = (what: string) => z.string({ error: what }).min(1, { error: what });
const path = () => name('the path of a file');

const staticEntry = z
  .strictObject({
    address: z
      .string({ error: 'an IP address' })
      .refine((text) => isIP(text) !== 0, { error: 'an IP address' })
      .exactOptional()
      .describe('One address. Give this or `cidr`.'),
    cidr: cidr().exactOptional().describe('A prefix. The longest one that fits an address names it.'),
    port: z
      .int({ error: 'a port, 1 to 65535' })
      .min(1, { error: 'a port, 1 to 65535' })
      .max(65535, { error: 'a port, 1 to 65535' })
      .exactOptional()
      .describe('Only this server port. Within one prefix an entry with a port goes before one without.'),
    service: name('the name of a service').describe(
      'The name on `source_service` and `destination_service`.',
    ),
    namespace: z.string().default('').describe('The namespace, if there is one.'),
    workload: z.string().default('').describe('What runs the service; the same as `service` if left out.'),
    watched: z
      .boolean({ error: 'true or false' })
      .default(false)
      .describe('True if another meshtap watches this end, so that its side reports each request.'),
  })
  .refine((entry) => (entry.address === undefined) !== (entry.cidr === undefined), {
    error: 'either `address` or `cidr`',
  });

const SERVICE_NAME_SOURCE = 'annotation, service, workload, or label: and the name of a label';

const kubernetes = z.strictObject({
  kubeconfig: path()
    .exactOptional()
    .describe(
      'A kubeconfig file with a token or a client certificate. Default: the service account of the pod.',
    ),
  context: name('the name of a context')
    .exactOptional()
    .describe('A context of the kubeconfig file. Default: its current one.'),
  node: name('the name of a node')
    .exactOptional()
    .describe(
      "Name of this machine's Node object. Default: the variable NODE_NAME, which a pod has from `spec.nodeName`, " +
        'or the host name.',
    ),
  serviceName: z
    .array(
      z
        .string({ error: SERVICE_NAME_SOURCE })
        .regex(/^(annotation|service|workload|label:.+)$/, { error: SERVICE_NAME_SOURCE }),
      { error: 'a list of sources' },
    )
    .default([...SERVICE_NAME])
    .describe(
      'Where the name of a pod comes from, the first that has one: `annotation` ' +
        '(`resource.opentelemetry.io/service.name`), `service` (the Service that selects it), `label:NAME`, `workload`.',
    ),
  agents: z
    .string({ error: 'a label and its value, NAME=VALUE' })
    .regex(/^[^=]+=[^=]*$/, { error: 'a label and its value, NAME=VALUE' })
    .default('app.kubernetes.io/name=meshtap')
    .describe("The label of meshtap's own pods: what runs on their nodes counts as watched."),
  details: z
    .array(z.enum(['pod', 'address'], { error: 'pod or address' }), { error: 'a list' })
    .default([])
    .describe('Labels that tell the pods of a workload apart: many more series. Default: none.'),
  remember: size('pods').default(4096).describe('How many removed pods of this node keep their names.'),
});

const PATTERN = 'a pattern such as *.s3.amazonaws.com';

const SOCKET = 'docker: or cri: and the path of a socket';

const identity = z.strictObject({
  static: z
    .array(staticEntry, { error: 'a list of entries' })
    .default([])
    .describe('Names for addresses that nothing on this machine can tell.'),
  addresses: z
    .array(cidr(), { error: 'a list of prefixes' })
    .exactOptional()
    .describe(
      'Prefixes whose addresses are each a peer of their own; every other address is counted as `world`. ' +
        'Default: the private, shared, loopback and link-local ranges.',
    ),
  cgroup: z
    .strictObject({
      remember: size('cgroups').default(16_384).describe('How many removed cgroups keep their names.'),
    })
    .prefault({})
    .describe('Names from cgroups: systemd units, containers, or the name of the directory.'),
  local: z
    .boolean({ error: 'true or false' })
    .default(true)
    .describe(
      'Look for the process that listens, where a cgroup does not tell: addresses of this machine, activated sockets.',
    ),
  containers: z
    .strictObject({
      sockets: z
        .array(z.string({ error: SOCKET }).regex(/^(docker|cri):\/.+$/, { error: SOCKET }), {
          error: 'a list of sockets',
        })
        .default([...SOCKETS])
        .describe(
          'Where engines listen, `docker:PATH` or `cri:PATH`; those that are there are asked. `[]` for none.',
        ),
      remember: size('containers').default(16_384).describe('How many containers are remembered.'),
    })
    .prefault({})
    .describe('Names of containers from their engine: Docker, Podman, containerd, CRI-O.'),
  kubernetes: kubernetes
    .exactOptional()
    .describe('Names from the API server of a Kubernetes cluster; `{}` for all defaults. Default: none.'),
  dns: z
    .strictObject({
      names: z
        .boolean({ error: 'true or false' })
        .default(true)
        .describe('Whether public addresses are called so; all of them are `world` otherwise.'),
      fold: z
        .array(z.string({ error: PATTERN }).regex(/^\*(\.[A-Za-z0-9_-]+)+$/, { error: PATTERN }), {
          error: 'a list of patterns',
        })
        .default([])
        .describe(
          'Patterns such as `*.s3.amazonaws.com`: all names below are one. The longest that fits counts.',
        ),
      siblings: z
        .int({ error: 'a number of names, 1 to 4096' })
        .min(1, { error: 'a number of names, 1 to 4096' })
        .max(4096, { error: 'a number of names, 1 to 4096' })
        .default(SIBLINGS)
        .describe(
          'If there are more names than these below one domain, all of them are one: `*.example.com`.',
        ),
    })
    .prefault({})
    .describe('Names of public addresses from the answers of DNS that services got.'),
  wait: duration()
    .prefault('30s')
    .describe('How long what an end counts is held back at most while its name may be told any moment.'),
});

/** A route that can be read; why one can not is what is wrong with it. */
const route = (kind: 'template' | 'regex', error: string) =>
  z.string({ error }).superRefine((text, context) => {
    try {
      readRoute(text, kind);
    } catch (cause) {
      const problem = cause instanceof Error ? cause.message : String(cause);
      context.addIssue({ code: 'custom', message: `${error} (${problem})` });
    }
  });

const serviceRoutes = z
  .strictObject({
    service: name('the name of a service')
      .exactOptional()
      .describe(
        'The service that has these routes, by the name it has in the metrics. Default: all services.',
      ),
    namespace: name('a namespace')
      .exactOptional()
      .describe('Only the service of that name in this namespace.'),
    paths: z
      .array(route('template', 'a path such as /details/{id} or GET /static/*'), { error: 'a list of paths' })
      .default([])
      .describe(
        'Paths, perhaps with a method before them: `/details/{id}`, `GET /static/*`. `{id}` is one segment or a part of ' +
          'one, `*` at the end all that follows.',
      ),
    expressions: z
      .array(route('regex', 'a regular expression such as /v[0-9]+/.*'), { error: 'a list of expressions' })
      .default([])
      .describe(
        'The same as regular expressions (RE2), for the whole path: `GET /v[0-9]+/.*`. Asked after all paths.',
      ),
    openapi: path().exactOptional().describe('An OpenAPI document, 3.0 or 3.1: all its paths are routes.'),
  })
  .refine(({ service, namespace }) => service !== undefined || namespace === undefined, {
    error: 'a service where there is a namespace',
  });

const keyPair = {
  certFile: path().exactOptional().describe('PEM file of our certificate.'),
  keyFile: path().exactOptional().describe('PEM file of its key.'),
};
const BOTH = 'certFile and keyFile, both or neither';
const bothOrNeither = ({ certFile, keyFile }: { certFile?: string; keyFile?: string }) =>
  (certFile === undefined) === (keyFile === undefined);

const receivers = z
  .strictObject({
    ebpf: z
      .strictObject({})
      .exactOptional()
      .describe("This machine's kernel. It is what runs if no receiver is named."),
    replay: z
      .strictObject({
        file: name('the path of a file, or - for standard input').describe(
          'Flows in the JSON of `hubble observe -o jsonpb`, one a line: a file, a named pipe, or `-` for standard input.',
        ),
      })
      .exactOptional()
      .describe('Flows that somebody wrote down; needs no privilege.'),
    hubble: z
      .strictObject({
        server: name('HOST:PORT or unix:PATH').describe(
          'A hubble-relay, or the Hubble of one node: HOST:PORT or unix:PATH.',
        ),
        tls: z
          .strictObject({
            caFile: path()
              .exactOptional()
              .describe('PEM file of the authorities to trust instead of the system ones.'),
            ...keyPair,
            serverName: name('the name in a certificate')
              .exactOptional()
              .describe("The name in the server's certificate. Default: the host of `server`."),
          })
          .refine(bothOrNeither, { error: BOTH })
          .exactOptional()
          .describe('Speak TLS to it; `{}` for all defaults. Default: plain.'),
      })
      .exactOptional()
      .describe('The flows of a cluster that has Cilium.'),
  })
  .refine((all) => Object.keys(all).length > 0, { error: 'at least one receiver' });

const yes = () => z.boolean({ error: 'true or false' }).default(true);

const flows = z.strictObject({
  history: size('flows').default(4096).describe('How many flows are kept for those who ask later.'),
  always: z
    .boolean({ error: 'true or false' })
    .default(false)
    .describe(
      'Have the kernel show requests also while nobody watches, so that those who ask later find them. It costs what a ' +
        'watcher costs.',
    ),
  redact: z
    .strictObject({
      query: yes().describe('Leave out query strings, and names and passwords in URLs.'),
      ids: yes().describe('Write `{id}` for segments of paths that look like one: numbers, UUIDs, tokens.'),
      headers: yes().describe('Mask the values of headers, but for a few that say nothing of anybody.'),
    })
    .prefault({})
    .describe('What is taken out of every flow before anybody sees it.'),
  server: z
    .strictObject({
      listen: listen().prefault('127.0.0.1:4244').describe('Where it is served.'),
      tls: z
        .strictObject({
          certFile: path().describe('PEM file of the certificate.'),
          keyFile: path().describe('PEM file of its key.'),
          clientCaFile: path()
            .exactOptional()
            .describe('PEM file of the authorities whose clients may ask. Default: anybody may.'),
        })
        .exactOptional()
        .describe('TLS. Default: plain.'),
    })
    .exactOptional()
    .describe(
      "Hubble's API over TCP, besides the unix socket that `meshtap observe` asks; `{}` for all defaults. Default: none.",
    ),
});

const prometheus = z.strictObject({
  listen: listen().prefault('127.0.0.1:9464').describe('Where /metrics, /healthz and /readyz are served.'),
  webConfigFile: path()
    .exactOptional()
    .describe("TLS and basic auth: a file with the keys of Prometheus' own web configuration."),
});

const otelPrometheus = z.strictObject({
  listen: listen().prefault('127.0.0.1:9464').describe('Where /metrics is served.'),
});

const otlp = z
  .strictObject({
    protocol: z
      .enum(['grpc', 'http/protobuf'])
      .exactOptional()
      .describe(
        'How to talk to the collector. Default: http/protobuf if the endpoint has port 4318 or a path, otherwise grpc.',
      ),
    endpoint: z
      .url({ protocol: /^https?$/, error: 'a URL such as http://collector:4317' })
      .exactOptional()
      .describe(
        'https means TLS. Over HTTP without a path it is /v1/metrics. Default: port 4317 of this machine for grpc, ' +
          '4318 for http/protobuf.',
      ),
    headers: z
      .record(z.string(), z.string({ error: 'text' }), { error: 'names and values of headers' })
      .default({})
      .describe('Sent with every request, such as an authorization.'),
    interval: duration().prefault('15s').describe('How often to send.'),
    timeout: duration().prefault('10s').describe('How long one attempt may take.'),
    temporality: z
      .enum(['cumulative', 'delta'])
      .default('cumulative')
      .describe('Totals since the beginning, or what came since the last export.'),
    caFile: path()
      .exactOptional()
      .describe('PEM file of the authorities to trust instead of the system ones.'),
    insecure: z
      .boolean({ error: 'true or false' })
      .default(false)
      .describe('Do not check the certificate of an https endpoint.'),
  })
  .transform(({ protocol, endpoint, ...rest }) => {
    if (endpoint === undefined) return { protocol: protocol ?? ('grpc' as const), ...rest };
    const url = new URL(endpoint);
    const chosen = protocol ?? (url.port === '4318' || url.pathname !== '/' ? 'http/protobuf' : 'grpc');
    // OTLP 1, "OTLP/HTTP Request": the default path.
    if (chosen === 'http/protobuf' && url.pathname === '/') url.pathname = '/v1/metrics';
    return { protocol: chosen, endpoint: url.href, ...rest };
  });

/** The whole file. */
export const schema = z
  .strictObject({
    cgroup: name('the path of a cgroup v2 directory')
      .exactOptional()
      .describe('The cgroup v2 directory to watch, with all below it. Default: the whole machine.'),
    instance: z
      .string({ error: 'letters, digits, ".", "_" and "-", at most 63' })
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, { error: 'letters, digits, ".", "_" and "-", at most 63' })
      .default('default')
      .describe('Name of the pinned maps and links. Two agents on one cgroup need two names.'),
    dialects: z
      .array(z.enum(['otel', 'hubble', 'istio']), { error: 'a list of dialects' })
      .min(1, { error: 'at least one dialect' })
      .refine((names) => new Set(names).size === names.length, { error: 'each dialect once' })
      .default(['otel'])
      .describe('Under which names the numbers are exported; any set of them.'),
    boundaries: z
      .array(z.number({ error: 'a positive number of seconds' }), { error: 'a list of seconds' })
      .superRefine((list, context) => {
        const problem = boundaryProblem(list);
        if (!problem) return;
        const path = problem.index < 0 ? [] : [problem.index];
        context.addIssue({ code: 'custom', message: problem.accepted, path });
      })
      .default([...DEFAULT_BOUNDARIES])
      .describe('Upper bounds of the latency buckets, seconds, ascending, at most 23.'),
    limits: z
      .strictObject({
        pairs: size('pairs')
          .default(2048)
          .describe('Pairs of services, both sides counted. As many again are kept that ended.'),
        series: size('series')
          .default(8192)
          .describe(
            'Request series: a pair with method, status and route. As many again are kept that ended.',
          ),
        early: size('segments').default(4096).describe('Segments that may wait for the ones before them.'),
        lookups: size('series')
          .default(2048)
          .describe(
            'Series of DNS lookups: a pair with type, code and number of addresses. As many again are kept that ended.',
          ),
        names: size('names')
          .default(512)
          .describe(
            'DNS names of addresses that services asked for; each service may have a pair with each.',
          ),
        routes: size('KiB')
          .default(1024)
          .describe(
            'KiB of the automaton of routes, of which the kernel has two; 1,000 paths take 800 and more.',
          ),
        identities: size('names').default(65_536).describe('Names of ends kept in memory.'),
        flows: size('flows')
          .default(5000)
          .describe(
            'Single requests and connections that the kernel shows per second, to all who watch together. Those beyond are ' +
              'counted as lost, and in all metrics.',
          ),
      })
      .prefault({})
      .describe('What meshtap may use at most. What comes beyond is counted in an overflow series.'),
    tls: z
      .strictObject({
        decode: z
          .boolean({ error: 'true or false' })
          .default(false)
          .describe(
            'Read inside TLS: requests of processes that use OpenSSL or GnuTLS, as Node does, are measured. Each call of ' +
              'such a process into its library takes some microseconds longer, and about one microsecond in other ' +
              'processes that have the same file mapped.',
          ),
      })
      .prefault({})
      .describe('Connections that carry TLS. Their bytes, connects and round trips are counted in any case.'),
    idleAfter: duration()
      .prefault('1h')
      .describe(
        'A series without traffic for so long makes room for others. Its counts stay where they are.',
      ),
    foldAfter: duration()
      .prefault('1h')
      .describe(
        'When all series of a name have ended for so long, their counts go to the overflow points, and the name leaves.',
      ),
    identity: identity.prefault({}).describe('Who is at each end.'),
    routes: z
      .array(serviceRoutes, { error: 'a list of routes' })
      .default([])
      .describe('Patterns of paths: requests that one matches have it as `http.route`. See docs/routes.md.'),
    receivers: receivers.prefault({ ebpf: {} }).describe('Where the numbers come from. Default: `ebpf`.'),
    flows: flows.prefault({}).describe('Single requests, for `meshtap observe` and the API of Hubble.'),
    exporters: z
      .strictObject({
        prometheus: prometheus
          .exactOptional()
          .describe(
            "meshtap's own endpoint; `{}` for all defaults. It is what runs if no exporter is named.",
          ),
        otelPrometheus: otelPrometheus
          .exactOptional()
          .describe('The stock exporter of OpenTelemetry, for those who need exactly its format.'),
        otlp: otlp.exactOptional().describe('OpenTelemetry protocol, to a collector.'),
      })
      .refine((exporters) => Object.keys(exporters).length > 0, { error: 'at least one exporter' })
      .prefault({ prometheus: {} })
      .describe('Where the numbers go. Default: `prometheus`.'),
    page: z
      .strictObject({
        listen: listenOrOff()
          .exactOptional()
          .describe(
            'Where it is served, or `off`. Default: 127.0.0.1:9465, or any free port there if that is taken.',
          ),
        webConfigFile: path()
          .exactOptional()
          .describe(
            "TLS and basic auth: a file with the keys of Prometheus' own web configuration. Default: that of " +
              '`exporters.prometheus`.',
          ),
      })
      .prefault({})
      .describe(
        'The service map for browsers. It shows what /metrics has, and the latest flows; it only reads.',
      ),
    resource: z
      .record(z.string(), z.string({ error: 'text' }), { error: 'names and values of attributes' })
      .default({})
      .describe(
        'Resource attributes, such as deployment.environment.name. service.name and host.name are set.',
      ),
    log: z
      .strictObject({
        level: z
          .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
          .default('info')
          .describe('What to log.'),
        format: z
          .enum(['auto', 'json', 'pretty'])
          .default('auto')
          .describe('`auto` is pretty on a terminal and JSON elsewhere.'),
      })
      .prefault({})
      .describe('The log, on stderr.'),
  })
  .meta({ title: 'meshtap configuration' });

/** The configuration as the program uses it: defaults filled in, durations in milliseconds. */
export type Config = z.output<typeof schema>;
/** The configuration as it is written. */
export type ConfigInput = z.input<typeof schema>;
