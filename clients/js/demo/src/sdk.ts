// The SDK's own sources; an application imports from "@rivulet-rt/client".
export * from "../../src/index.js";
