package cmd

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/rivulet-rt/rivulet/fanout"
)

func newGroups(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "List, show and delete the durable groups of a channel",
		Long: `The members of a durable group share the messages of a channel. These commands show how
far a group is, and remove one with its place in the channel. Of a group they print

  pending      messages that no member has had
  in_flight    messages that a member has, and has not settled
  redelivered  messages of these that have had more than one attempt
  waiting      nodes that ask for more`,
		Example: `  rivulet groups list jobs:todo
  rivulet groups show jobs:todo crew
  rivulet groups delete jobs:todo crew`,
		Args: commandsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		groupCommand(s, "list CHANNEL", "Print the groups of a channel, one line of JSON each", 1, http.MethodGet),
		groupCommand(s, "show CHANNEL GROUP", "Print one group", 2, http.MethodGet),
		groupCommand(s, "delete CHANNEL GROUP", "Remove a group; members that are connected begin it anew", 2, http.MethodDelete),
	)
	return cmd
}

func groupCommand(s Streams, use, short string, args int, method string) *cobra.Command {
	var f clientFlags
	what := "a channel"
	if args == 2 {
		what = "a channel and a group"
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: arguments(args, args, what),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := fanout.ParseChannel(args[0]); err != nil {
				return usagef("%w", err)
			}
			path := "/v1/channels/" + url.PathEscape(args[0]) + "/groups"
			if len(args) == 2 {
				if bad := fanout.CheckGroup(args[1]); bad != nil {
					return usagef("%w", bad)
				}
				path += "/" + args[1]
			}
			n, err := f.connect(s.Environ)
			if err != nil {
				return err
			}
			var answer json.RawMessage
			if err := n.ask(cmd.Context(), method, path, nil, nil, &answer); err != nil {
				return err
			}
			var list struct {
				Groups []json.RawMessage `json:"groups"`
			}
			if len(args) == 1 {
				if err := json.Unmarshal(answer, &list); err != nil {
					return err
				}
				return printAll(s.Out, list.Groups)
			}
			return printAll(s.Out, []json.RawMessage{answer})
		},
	}
	f.add(cmd)
	return cmd
}
