// The members of the SDK's own objects that no application and no node sees: in the package their
// names are short. A test reads the sources with the compiler and holds this list to that; what is
// not in it only costs some bytes. Those that stand in the core most often are first.

export const internal =
	"link isLost pattern places waiting subs tell forget retry life routes deliver handled leave note options settle stored begin isUp known lost pulse received seen wait wire ask begun blocked brought call give had hold inherit list patterns pump start startAfter takeUp acknowledge answered apart began caught drop dropped fail fails frozen gone host leaving missed pongs released settled underWay alive asked born came detach down ended entire event failed finish garbled giveUp hasRoom heard here log onHandled onTaken passed prefix prepare pushBegun put settleAll take up Brought Hold Sender advices askToken busy cleared count holds letGo load meet ownerOf passes pause remember renew renewal undo waits worked why handlers said late hint checkSubscribe checkEvent listeners asking".split(
		" ",
	);

/** By which what is often in the core is short in a gzip too. */
const letters = [..."etnrioascldupfmhgvbyxwkqj_$"];

/** Names that others have. */
const taken = ["at", "id", "is", "of", "on", "ms"];

/** What each is called in the package: the same in all of its files. */
export const shortNames = new Map(
	[...letters, ...letters.flatMap((second) => letters.map((first) => first + second))]
		.filter((name) => !taken.includes(name))
		.slice(0, internal.length)
		.map((short, i) => [internal[i] as string, short]),
);
