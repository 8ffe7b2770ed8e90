// The SDK's own sources; an application imports from "@rivulet-rt/client".
export * from "../../src/index.js";
export { useConnectionState } from "../../src/react/index.js";
