// What the pages of monitor.test.ts have as `window.sdk`.

export { Client } from "../../src/index.js";
export { monitor } from "../../src/monitor/index.js";
