/**
 * The public interface of the library: define an app and serve it.
 * @module
 */
export {
  type App,
  type AppFactory,
  type Awaitable,
  defineApp,
  type FetchApp,
  type GapDetails,
  type Message,
  type Peer,
  type SendResult,
  type ServiceApp,
  type UpgradeRequest,
  type UpgradeResult,
  type WaitForDrainOptions,
} from "./ws/app_types.ts";
export { type Environment, serve } from "./service/serve.ts";
export type {
  Bound,
  ClusterAnswer,
  Complete,
  InNamespace,
  NodeList,
  Online,
  Presence,
  ServiceCalls,
  TopicList,
} from "./hub/service_calls.ts";
export type { Target } from "./hub/cluster.ts";
export type { NodeInfo } from "./hub/node_registry.ts";
export type { RelayCounts } from "./hub/frame_relay.ts";
export type { Service } from "./service/service_type.ts";
export type { ServedCertificate } from "./tls/loaded_certificate.ts";
export type { ServiceOptions } from "./config/service_options_type.ts";
export { StartError, UsageError } from "./errors.ts";
export { createLogger, flushLog, type LogFields, type Logger, type LogLevel, type LogOptions } from "./log.ts";
