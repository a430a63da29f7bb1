/**
 * Where numbers go: `meshtap/exporters`.
 *
 * @module
 */
export type { Exporter, ExporterContext, RunningExporter } from './exporter.js';
export { type OtelPrometheusOptions, otelPrometheus } from './otel-prometheus.js';
export type { OtlpOptions } from './otlp.js';
export { otlpGrpc } from './otlp-grpc.js';
export { otlpHttp } from './otlp-http.js';
export { type ServicePage, type ServicePageOptions, servePage } from './page/service-page.js';
export { type PrometheusOptions, prometheus } from './prometheus.js';
export { PrometheusReader, type PrometheusReaderOptions } from './prometheus-reader.js';
