// Runs of the test command play the same plays each time: a fault of the client, not of what
// was drawn, is what they find. FC_RUNS alone searches further, from a seed of its own, which
// the failure tells; FC_SEED repeats that.

import fc from "fast-check";

const { FC_RUNS, FC_SEED } = process.env;
if (FC_SEED) fc.configureGlobal({ seed: Number(FC_SEED) });
else if (!FC_RUNS) fc.configureGlobal({ seed: 1 });
