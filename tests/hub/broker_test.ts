import { conformance } from "./conformance.ts";
import { faultyEngine, localEngine, natsServer, redisServer } from "./engines.ts";

conformance("local", localEngine);
conformance("nats", natsServer);
conformance("redis", redisServer);
conformance("faulty", faultyEngine);
