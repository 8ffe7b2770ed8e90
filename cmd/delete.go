package cmd

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/rivulet-rt/rivulet/fanout"
)

func newDelete(s Streams) *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:   "delete CHANNEL OFFSET",
		Short: "Delete one message of a channel, for good",
		Long: `Overwrites one message and its versions in the log. Subscribers are told that it is
deleted, and nobody reads it any more. Prints where the deletion was stored.`,
		Example: `  rivulet delete chat:lobby 1043`,
		Args:    arguments(2, 2, "a channel and the offset of a message"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := fanout.ParseChannel(args[0]); err != nil {
				return usagef("%w", err)
			}
			if n, err := strconv.ParseUint(args[1], 10, 64); err != nil || n == 0 {
				return usagef("%q is not an offset; it is a whole number, which every message has", args[1])
			}
			n, err := f.connect(s.Environ)
			if err != nil {
				return err
			}
			var marker json.RawMessage
			if err := n.ask(cmd.Context(), http.MethodDelete, messagesPath(args[0])+"/"+args[1], nil, nil, &marker); err != nil {
				return err
			}
			return printLine(s.Out, marker)
		},
	}
	f.add(cmd)
	return cmd
}
