/**
 * wss as a library: an app, and the service that serves it.
 * @module
 */
export {
  type App,
  type AppFactory,
  defineApp,
  type GapDetails,
  type Message,
  type Peer,
  type SendResult,
  type ServiceApp,
  type UpgradeResult,
} from "./ws/app_types.ts";
export { type Environment, serve } from "./service/serve.ts";
export type { NodeList, Online, Presence, ServiceCalls, TopicList } from "./hub/calls.ts";
export type { Target } from "./hub/cluster.ts";
export type { NodeInfo } from "./hub/nodes.ts";
export type { Service } from "./service/running_service.ts";
export type { ServiceOptions } from "./config/service_options.ts";
export { StartError, UsageError } from "./errors.ts";
export { createLogger, flushLog, type LogFields, type Logger, type LogLevel } from "./log.ts";
