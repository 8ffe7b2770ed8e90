/** Of this package, told to the node; a test holds it against package.json. */
export const VERSION = "0.1.0";
