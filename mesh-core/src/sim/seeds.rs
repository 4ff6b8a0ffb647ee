//! Seeds of worlds that failed once, each with what had gone wrong there.

use super::scenario::Scenario;

/// An agent with more links than it wants kept one of use to a needy neighbour, for the other end
/// had opened it, and gave up another instead: so two ends took turns for ever.
#[test]
fn a_spare_link_that_a_needy_neighbour_could_use_is_given_up_and_links_rest() {
    for seed in [8_114, 11_304] {
        Scenario::draw_rough(seed).run();
    }
}

#[test]
fn what_a_stream_waits_for_is_never_in_the_past() {
    // An agent whose timer was armed for the past took its driver for late.
    for seed in [72, 428] {
        Scenario::draw(seed).run();
        Scenario::draw_rough(seed).run();
    }
}

/// A record of an earlier life came to its author, which went on under another incarnation: the
/// messages that were under way came to a target that had heard of that, and took them for replays.
#[test]
fn messages_under_way_outlive_the_news_of_an_earlier_life() {
    Scenario::draw_rough(846).run();
}

/// In a room that is a long row of agents a broadcast takes more hops than other messages may.
#[test]
fn a_broadcast_reaches_the_end_of_a_long_row() {
    Scenario::draw(41_755).run();
}

/// A gateway to another shard, whose link was lost, was not dialled any more while another stood in
/// for it, and two shards stayed without a link between them.
#[test]
fn a_gateway_that_another_stands_in_for_is_dialled_on() {
    Scenario::draw_rough(70_067).run();
}

/// The round trip of a link grew to more than the time that answers were waited for. Pongs that
/// came later counted for nothing, so the link was lost and found again for ever.
#[test]
fn a_link_that_gets_slow_is_lost_once_and_then_waited_for() {
    Scenario::draw_relayed(70_831).run();
}

/// The look for a direct path fell due while a relayed link was silent. When the link worked again
/// its timer was armed for the past, and the agent took its driver for late.
#[test]
fn what_falls_due_while_a_link_is_silent_is_due_when_it_works_again() {
    for seed in [72_093, 72_198] {
        Scenario::draw_relayed(seed).run();
    }
}

/// An agent kept an attempt that its offerer had given up long ago, and let an open link go.
#[test]
fn an_attempt_is_not_kept_before_a_link_that_is_open() {
    Scenario::draw_rough(73_324).run();
}
