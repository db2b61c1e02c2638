// The scenario of scripts/clients, through the generated client for Go.
package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"time"

	"example.com/shop/coupons"
)

var code = os.Getenv("COUPON")

func must(holds bool, what string, values ...any) {
	if !holds {
		log.Fatal(what, values)
	}
}

func as(token string) context.Context {
	return context.WithValue(context.Background(), coupons.ContextAccessToken, token)
}

// refused returns the problem of an ask that must be refused.
func refused(api *coupons.IssuingAPIService, token string) (*http.Response, coupons.Problem) {
	_, response, err := api.AskForCoupon(as(token), code).Execute()
	var refusal *coupons.GenericOpenAPIError
	must(errors.As(err, &refusal), "not refused", err)
	problem, isProblem := refusal.Model().(coupons.Problem)
	must(isProblem, "no problem", string(refusal.Body()))
	return response, problem
}

func main() {
	settings := coupons.NewConfiguration()
	settings.Servers = coupons.ServerConfigurations{{URL: os.Getenv("URL")}}
	api := coupons.NewAPIClient(settings).IssuingAPI
	holder := as(os.Getenv("HOLDER"))

	first, response, err := api.AskForCoupon(holder, code).Execute()
	must(err == nil && response.StatusCode == http.StatusAccepted, "not accepted", err)
	again, response, err := api.AskForCoupon(holder, code).Execute()
	must(err == nil && response.StatusCode == http.StatusOK, "not the same again", err)
	must(again.RequestId == first.RequestId, "another request", again.RequestId, first.RequestId)

	response, problem := refused(api, os.Getenv("LATE"))
	must(response.StatusCode == http.StatusConflict && problem.Code == "SOLD_OUT", "not sold out", problem)

	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		issue, _, err := api.ShowIssue(holder, code, first.RequestId).Execute()
		must(err == nil && time.Now().Before(deadline), "not issued", err)
		if issue.State == "issued" {
			must(issue.ExpiresAt != nil, "without an end", issue)
			break
		}
	}

	if odd := os.Getenv("ODD"); odd != "" {
		response, problem := refused(api, odd)
		known := problem.Code == "SOLD_OUT" || problem.Code == "NOT_OPEN" || problem.Code == "CLOSED"
		must(response.StatusCode == http.StatusConflict && problem.Status == 409 && !known, "no unknown code", problem)
	}
}
